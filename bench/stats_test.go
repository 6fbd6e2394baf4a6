package main

import (
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	tests := []struct {
		name   string
		values []float64
		want   Spread
	}{
		{"none", nil, Spread{}},
		{"one", []float64{3}, Spread{3, 3, 3}},
		{"an odd number, in no order", []float64{9, 1, 4}, Spread{4, 1, 9}},
		{"an even number: between the middle two", []float64{4, 1, 2, 8}, Spread{3, 1, 8}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := spread(tt.values); got != tt.want {
				t.Errorf("spread(%v) = %+v, want %+v", tt.values, got, tt.want)
			}
		})
	}
}

func TestSpreadLeavesTheOrder(t *testing.T) {
	values := []float64{3, 1, 2}
	spread(values)
	if values[0] != 3 {
		t.Error("the runs are sorted where they stand")
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]float64, 101)
	for i := range hundred {
		hundred[i] = float64(i)
	}
	tests := []struct {
		name   string
		sorted []float64
		q      float64
		want   float64
	}{
		{"of none", nil, 0.99, 0},
		{"the least", hundred, 0, 0},
		{"the median", hundred, 0.5, 50},
		{"the ninety-ninth of a hundred", hundred, 0.99, 99},
		{"the most", hundred, 1, 100},
		{"between two", []float64{10, 20}, 0.25, 12.5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := quantile(tt.sorted, tt.q); got != tt.want {
				t.Errorf("quantile = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTimesOf(t *testing.T) {
	got := timesOf([]time.Duration{3 * time.Second, time.Second, 2 * time.Second})
	if got.N != 3 || got.P50 != 2*time.Second || got.Max != 3*time.Second || got.P99 < 2900*time.Millisecond {
		t.Errorf("%+v", got)
	}
}
