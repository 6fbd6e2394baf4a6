package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// A usage is what a process has used so far: zero where the system has no
// /proc to tell it.
type usage struct {
	CPU      time.Duration // in steps of 10 ms
	RSS, Max int64         // bytes resident, now and at most
}

// usageOf a process by its id, or "self".
func usageOf(pid any) (u usage) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%v/stat", pid))
	// The name of the program, in brackets, may hold spaces.
	_, rest, _ := strings.Cut(string(stat), ") ")
	if f := strings.Fields(rest); len(f) > 12 {
		const tick = 10 * time.Millisecond
		user, _ := strconv.Atoi(f[11])
		system, _ := strconv.Atoi(f[12])
		u.CPU = time.Duration(user+system) * tick
	}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%v/status", pid))
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		if len(f) != 2 || f[1] != "kB" {
			continue
		}
		kb, _ := strconv.ParseInt(f[0], 10, 64)
		switch name {
		case "VmRSS":
			u.RSS = kb << 10
		case "VmHWM":
			u.Max = kb << 10
		}
	}
	return u
}
