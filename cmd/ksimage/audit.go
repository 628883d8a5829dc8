package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"kubesolo.io/os/internal/image"
	"kubesolo.io/os/internal/image/kconfig"
)

const auditHelp = `ksimage audit names every kernel option that a node needs and a configuration lacks,
with what breaks without it. It exits 1 when something is missing.

Examples:
  ksimage audit --config /boot/config-6.1.0-56-amd64
  ksimage audit --config /proc/config.gz -o json`

func audit(args []string) error {
	fs := flags("audit", auditHelp)
	config := fs.String("config", "", "kernel configuration `file` (.config, /boot/config-*, /proc/config.gz)")
	repo := fs.String("repo", ".", "checkout `directory`, for kernel/required.options")
	output := fs.String("o", "table", "output `format`: table or json")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *config == "" {
		fmt.Fprintln(os.Stderr, "ksimage audit: which configuration? give --config FILE")
		return errUsage
	}
	findings, err := image.AuditFile(*repo, *config)
	if err != nil {
		return fmt.Errorf("audit --config %s --repo %s: %w", *config, *repo, err)
	}
	if *output == "json" {
		if findings == nil {
			findings = []kconfig.Finding{}
		}
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(findings)
	} else if len(findings) == 0 {
		fmt.Println("nothing is missing")
	} else {
		err = kconfig.Write(os.Stdout, findings)
	}
	if err == nil && len(findings) > 0 {
		err = fmt.Errorf("%s: %d options are missing", *config, len(findings))
	}
	return err
}

const sizesHelp = `ksimage sizes shows what each part of the last build costs.

Example:
  ksimage sizes -o json`

func sizes(args []string) error {
	fs := flags("sizes", sizesHelp)
	out := fs.String("out", "build", "build `directory`")
	output := fs.String("o", "table", "output `format`: table or json")
	if err := parse(fs, args); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(*out, "sizes.json"))
	if err != nil {
		return fmt.Errorf("%w; build an image first: make image", err)
	}
	if *output == "json" {
		_, err = os.Stdout.Write(text)
		return err
	}
	var s image.Sizes
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("%s/sizes.json: %w", *out, err)
	}
	return s.Print(os.Stdout)
}
