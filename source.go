package ct2fluent

import "context"

// A Source brings notifications from a ct-queue.
type Source interface {
	// Run receives until ctx is done and returns nil then. It calls put for
	// each body; several calls at once are allowed. put returning nil is the
	// promise that the body is on disk: only then may the source acknowledge
	// it. When put fails, the source keeps the body unacknowledged and stops
	// receiving until put works again. An error that Run returns is one that
	// trying again will not mend by itself; it is restarted with a delay.
	Run(ctx context.Context, put func(ctx context.Context, body []byte) error) error
}
