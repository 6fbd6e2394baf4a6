//go:build unix

package outside

import (
	"os/exec"
	"syscall"
)

// group makes the process the leader of a group of its own: what it starts
// ends with it, and a terminal's Ctrl-C, which stops ct2fluent in order, does
// not reach it.
func group(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup ends the process and its group.
func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	_ = cmd.Process.Kill()
}
