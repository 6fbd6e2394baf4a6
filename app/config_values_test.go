package app

import (
	"math"
	"testing"
)

func TestSize(t *testing.T) {
	tests := []struct {
		text    string
		want    Size
		printed string
	}{
		{"0", 0, "0"},
		{"1", 1, "1"},
		{"1000 B", 1000, "1000"},
		{"10KB", 10_000, "10000"},
		{"1KiB", 1 << 10, "1KiB"},
		{"1024KiB", 1 << 20, "1MiB"},
		{"8GiB", 8 << 30, "8GiB"},
		{"9223372036854775807", math.MaxInt64, "9223372036854775807"},
		{"8388607TiB", 8388607 << 40, "8388607TiB"},
	}
	for _, tt := range tests {
		var got Size
		if err := got.UnmarshalText([]byte(tt.text)); err != nil || got != tt.want || got.String() != tt.printed {
			t.Errorf("%q is %d, printed %v (%v); want %d, printed %s", tt.text, got, got, err, tt.want, tt.printed)
		}
	}
	for _, text := range []string{"", "-1", "1.5GiB", "8 gigs", "1kb", "GiB", "9223372036854775808", "8388608TiB", "１MiB"} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func TestNATSURLHidesCredentials(t *testing.T) {
	for url, want := range map[NATSURL]string{
		"nats://a:4222":                      "nats://a:4222",
		"nats://user:word@a:4222,tls://b":    "nats://<secret>@a:4222,tls://b",
		"nats://token@a, nats://u:p@x@b:422": "nats://<secret>@a, nats://<secret>@b:422",
	} {
		if url.String() != want {
			t.Errorf("got %s, want %s", url.String(), want)
		}
	}
}

func TestWhence(t *testing.T) {
	file, other, env := Secret{source: "file /a"}, Secret{source: "file /b and file /a"}, Secret{source: "environment X and file /a"}
	for _, tt := range []struct {
		secrets []Secret
		want    string
	}{
		{[]Secret{file}, "secrets come from file /a, and are read again before each try"},
		{[]Secret{file, other}, "secrets come from file /a and file /b, and are read again before each try"},
		{[]Secret{env, file}, "secrets come from environment X and file /a; only files are read again: after any other change start again"},
	} {
		if got := whence(tt.secrets...); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

func TestAddressLoopback(t *testing.T) {
	for address, want := range map[Address]bool{
		"127.0.0.1:80": true, "127.1.2.3:0": true, "[::1]:80": true, "localhost:80": true,
		":80": false, "0.0.0.0:80": false, "[::]:80": false, "10.0.0.1:80": false, "host:80": false, "": false,
	} {
		if got := address.Loopback(); got != want {
			t.Errorf("%q: %v", address, got)
		}
	}
}
