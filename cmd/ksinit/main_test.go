package main

import (
	"flag"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write golden files and docs/boot.md")
	flag.Parse()
	os.Exit(m.Run())
}
