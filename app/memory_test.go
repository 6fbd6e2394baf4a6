package app

import "testing"

// A small process keeps to the goal; a large one has room to work in.
func TestMemoryLimit(t *testing.T) {
	const mb = 1 << 20
	for alive, want := range map[uint64]int64{0: 400 * mb, 100 * mb: 400 * mb, 264 * mb: 400 * mb, 300 * mb: 448 * mb, 3000 * mb: 4048 * mb} {
		if got := memoryLimit(alive); got != want {
			t.Errorf("with %d MB alive the limit is %d MB, want %d", alive/mb, got/mb, want/mb)
		}
	}
}
