package ctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"kubesolo.io/os/internal/cloudinit"
	"kubesolo.io/os/internal/config"
)

// mostInput is more than any document may have; the parser says so.
const mostInput = 1 << 20

func (p Program) config(args []string) int {
	return p.choose("ksctl config", "ksctl config checks configuration, and shows what is in force and why.", args, []verb{
		{"validate", "FILE...", "say every mistake of files, with its line", p.validate},
		{"show", "[FILE...]", "show the configuration of this node, or of files merged in order", p.show},
		{"schema", "", "print the JSON schema of cloud-config, for editors", p.schema},
	})
}

// checked is a file as the parser of a node sees it.
type checked struct {
	File     string              `json:"file"`
	Kind     cloudinit.Kind      `json:"kind"`
	Valid    bool                `json:"valid"`
	Errors   []cloudinit.Problem `json:"errors,omitempty"`
	Warnings []cloudinit.Warning `json:"warnings,omitempty"`
	part     config.Part
}

func (p Program) check(file string) (checked, error) {
	name, in := file, p.Stdin
	if file == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(file)
		if err != nil {
			return checked{}, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, mostInput))
	if err != nil {
		return checked{}, err
	}
	c := checked{File: name, Kind: cloudinit.KindOf(file)}
	c.part, c.Warnings, err = cloudinit.Parse(c.Kind, text)
	c.part.Source = name
	c.Errors = cloudinit.Problems(err)
	c.Valid = err == nil
	return c, nil
}

// say prints the messages as editors and terminals know them: file:line.
func (c checked) say(w io.Writer) {
	for _, e := range c.Errors {
		fmt.Fprintf(w, "%s:%d: error: %s\n", c.File, e.Line, e.Message)
	}
	for _, e := range c.Warnings {
		fmt.Fprintf(w, "%s:%d: warning: %s\n", c.File, e.Line, e.Message)
	}
}

func (c checked) verdict() string {
	return fmt.Sprintf("%s: %s as %s, %s, %s", c.File, map[bool]string{true: "valid", false: "not valid"}[c.Valid], c.Kind,
		count(len(c.Errors), "error"), count(len(c.Warnings), "warning"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (p Program) validate(args []string) int {
	flags := p.flags("config validate", "FILE...", `Checks files as a node does at boot, and says every mistake with its line.
A file called network-config or meta-data is checked as that, any other as
cloud-config; - is standard input.

Exit status: 0 when all are valid (warnings are allowed), 1 when one is not, 2
when one could not be read.`)
	form := p.output(flags, "text")
	files, status, ok := p.parse(flags, args)
	if !ok {
		return status
	}
	asJSON, err := form()
	if err == nil && len(files) == 0 {
		err = errors.New("name the files to check, or - for standard input")
	}
	if err != nil {
		return p.unknown(err)
	}
	all := struct {
		Valid bool      `json:"valid"`
		Files []checked `json:"files"`
	}{Valid: true}
	for _, file := range files {
		c, err := p.check(file)
		if err != nil {
			return p.unknown(err)
		}
		all.Valid = all.Valid && c.Valid
		all.Files = append(all.Files, c)
	}
	if asJSON {
		if err := p.json(all); err != nil {
			return p.unknown(err)
		}
	} else {
		for _, c := range all.Files {
			c.say(p.Stdout)
			fmt.Fprintln(p.Stdout, c.verdict())
		}
	}
	if !all.Valid {
		return exitWrong
	}
	return exitGood
}

func (p Program) json(v any) error {
	e := json.NewEncoder(p.Stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (p Program) schema(args []string) int {
	flags := p.flags("config schema", "", `Prints the JSON schema (draft 2020-12) of cloud-config. An editor that knows it
completes keys and marks mistakes; validate knows more.`)
	rest, status, ok := p.parse(flags, args)
	if !ok {
		return status
	}
	if len(rest) > 0 {
		return p.unknown(fmt.Errorf("config schema takes no argument %q", rest[0]))
	}
	if err := p.json(cloudinit.JSONSchema()); err != nil {
		return p.unknown(err)
	}
	return exitGood
}

func (p Program) show(args []string) int {
	flags := p.flags("config show", "[FILE...]", `Shows a configuration; secrets are hidden. Without files it is the one in force
on this node (as root). With files these are merged as a node would, each
stronger than the one before, over the defaults.`)
	origins := flags.Bool("origins", false, "say where each value comes from")
	form := p.output(flags, "table")
	files, status, ok := p.parse(flags, args)
	if !ok {
		return status
	}
	asJSON, err := form()
	if err != nil {
		return p.unknown(err)
	}
	c, o, status, err := p.load(files)
	if err != nil {
		return p.unknown(err)
	}
	switch {
	case asJSON && *origins:
		err = p.json(struct {
			Config  config.Config  `json:"config"`
			Origins config.Origins `json:"origins"`
		}{c, o})
	case asJSON:
		err = p.json(c)
	default:
		err = p.table(c, o, *origins)
	}
	if err != nil {
		return p.unknown(err)
	}
	return status
}

// load gives the configuration of the node, or that of the files. The status
// is exitWrong when there are mistakes, which it has said by then; what is
// wrong in a file is then not in the configuration.
func (p Program) load(files []string) (config.Config, config.Origins, int, error) {
	if len(files) == 0 {
		c, o, err := config.ReadEffective(p.RunDir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("%s holds no configuration: on another machine than a node, name the files to merge", p.RunDir)
		case errors.Is(err, fs.ErrPermission):
			err = fmt.Errorf("%w: only root may read it", err)
		}
		return c, o, exitGood, err
	}
	status := exitGood
	parts := []config.Part{config.Defaults()}
	for _, file := range files {
		read, err := p.check(file)
		if err != nil {
			return config.Config{}, nil, exitUnknown, err
		}
		read.say(p.Stderr)
		if !read.Valid {
			status = exitWrong
		}
		parts = append(parts, read.part)
	}
	c, o := config.Merge(parts...)
	if err := config.Validate(c, o); err != nil && status == exitGood {
		fmt.Fprintln(p.Stderr, err)
		status = exitWrong
	}
	return c.Public(), o, status, nil
}
