package main

import (
	"math"
	"slices"
	"time"
)

// A Spread is what several runs gave.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spread of no values is zero.
func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	return Spread{Median: quantile(sorted, 0.5), Min: sorted[0], Max: sorted[len(sorted)-1]}
}

// quantile of sorted values, between two of them where it falls there; 0 of
// none.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	low := int(math.Floor(at))
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// Times are those of single operations.
type Times struct {
	N             int
	P50, P99, Max time.Duration
}

func timesOf(ds []time.Duration) Times {
	values := make([]float64, len(ds))
	for i, d := range ds {
		values[i] = float64(d)
	}
	slices.Sort(values)
	return Times{
		N: len(ds), P50: time.Duration(quantile(values, 0.5)), P99: time.Duration(quantile(values, 0.99)),
		Max: time.Duration(quantile(values, 1)),
	}
}

// ratio of two figures; 0 where there is nothing to compare with.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
