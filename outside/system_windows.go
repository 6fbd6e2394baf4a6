package outside

import (
	"os/exec"
)

func group(*exec.Cmd) {}

// killGroup ends the process. What it has started ends when its input does.
func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
