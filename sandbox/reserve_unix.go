//go:build unix

package sandbox

import (
	"net"
	"syscall"
)

// reserve keeps addr from others without listening there: who calls it is
// refused, and no outgoing connection of this machine is given its port. It is
// an IPv4 address. The result lets go of it; nil where it cannot be kept.
func reserve(addr string) (release func()) {
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil || a.IP.To4() == nil {
		return nil
	}
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil
	}
	// With this option on both sockets, Up can listen while the port is kept.
	err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())})
	}
	if err != nil {
		_ = syscall.Close(fd)
		return nil
	}
	return func() { _ = syscall.Close(fd) }
}
