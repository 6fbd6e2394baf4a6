package main

import (
	"context"
	"encoding/binary"
	"net"
	"sync/atomic"
)

// A nameServer answers that every name is this machine's loopback, or that
// there is no such name. It is asked by what runs in this process.
type nameServer struct {
	gone atomic.Bool
}

// start serves until this process ends.
func (s *nameServer) start() error {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if a := s.answer(buf[:n]); a != nil {
				_, _ = conn.WriteTo(a, from)
			}
		}
	}()
	return nil
}

// answer is that to a query with one question, by RFC 1035.
func (s *nameServer) answer(query []byte) []byte {
	const head, typeA, noSuchName = 12, 1, 3
	end := head
	for end < len(query) && query[end] != 0 {
		end += 1 + int(query[end])
	}
	end += 5 // the root, the type, the class
	if end > len(query) {
		return nil
	}
	question := query[head:end]
	a := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
	switch {
	case s.gone.Load():
		a[3] |= noSuchName
	case binary.BigEndian.Uint16(question[len(question)-4:]) == typeA:
		a[7] = 1
		a = append(a, 0xc0, head, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
	}
	return a
}
