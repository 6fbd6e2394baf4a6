package store

import (
	"fmt"
	"strconv"
	"strings"
)

// Token writes s as one token of a NATS subject: letters, digits, _ and - as
// they are, other bytes as =XX, and the empty string as "-".
func Token(s string) string {
	switch s {
	case "":
		return "-"
	case "-":
		return "=2D"
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c == '_' || c == '-' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// Untoken is the inverse of Token. What Token did not write comes back as far
// as it can be read.
func Untoken(t string) string {
	if t == "-" {
		return ""
	}
	var b strings.Builder
	for i := 0; i < len(t); i++ {
		if t[i] == '=' && i+2 < len(t) {
			if c, err := strconv.ParseUint(t[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(t[i])
	}
	return b.String()
}
