package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// unconnected is why a cluster could not be connected.
func unconnected(err error) error {
	if refuses(err) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// mayNot is err, or ErrRefused where what failed was not permitted: who asks is
// not answered then, and only the connection is told.
func mayNot(conn *nats.Conn, err error) error {
	if last := conn.LastError(); refuses(last) {
		return fmt.Errorf("%w: %w", ErrRefused, last)
	}
	return err
}

// refuses tells whether a server has refused credentials, or what they ask for.
func refuses(err error) bool {
	for _, no := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrPermissionViolation,
	} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// unanswered tells whether no stream has answered.
func unanswered(err error) bool {
	for _, none := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, jetstream.ErrNoStreamResponse,
		nats.ErrConnectionClosed, nats.ErrDisconnected, nats.ErrReconnectBufExceeded,
	} {
		if errors.Is(err, none) {
			return true
		}
	}
	return false
}
