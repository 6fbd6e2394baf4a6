package app

import "testing"

const mb = 1 << 20

// A small process keeps to the goal; a large one has room to work in.
func TestMemoryLimit(t *testing.T) {
	for alive, want := range map[uint64]int64{0: 380 * mb, 100 * mb: 380 * mb, 296 * mb: 380 * mb, 400 * mb: 504 * mb, 2000 * mb: 2424 * mb} {
		if got := memoryLimit(alive); got != want {
			t.Errorf("with %d MB alive the limit is %d MB, want %d", alive/mb, got/mb, want/mb)
		}
	}
}

// What is alive for a moment only leaves the limit as it is.
func TestSteady(t *testing.T) {
	var a aliveness
	for i := range 3 * steadyFor {
		now := uint64(300 * mb)
		if i%steadyFor == 0 {
			now = 400 * mb
		}
		if got := a.steady(now); i > 0 && got != 300*mb {
			t.Errorf("at look %d %d MB count, want 300", i, got/mb)
		}
	}
	for range steadyFor - 1 {
		if got := a.steady(400 * mb); got != 300*mb {
			t.Errorf("%d MB count too early", got/mb)
		}
	}
	if got := a.steady(400 * mb); got != 400*mb {
		t.Errorf("%d MB count in the end, want 400", got/mb)
	}
}
