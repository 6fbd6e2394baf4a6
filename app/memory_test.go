package app

import "testing"

// A small process keeps to the goal; a large one has room to work in.
func TestMemoryLimit(t *testing.T) {
	const mb = 1 << 20
	for alive, want := range map[uint64]int64{0: 380 * mb, 100 * mb: 380 * mb, 278 * mb: 380 * mb, 400 * mb: 532 * mb, 2000 * mb: 2532 * mb} {
		if got := memoryLimit(alive); got != want {
			t.Errorf("with %d MB alive the limit is %d MB, want %d", alive/mb, got/mb, want/mb)
		}
	}
}
