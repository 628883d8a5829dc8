// Command ksctl is what people use to look at a KubeSolo OS node, on the node
// or on a laptop.
//
// It owns nothing but the process: the verbs, their output and their exit
// statuses are in internal/ctl, where they are tested.
package main

import (
	"os"

	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/ctl"
)

func main() {
	program := ctl.Program{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, RunDir: config.EffectiveDir}
	os.Exit(program.Run(os.Args[1:]))
}
