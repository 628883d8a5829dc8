package statecopy

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"kubesolo.io/os/solonode/internal/recovery"
)

const usage = `kubesolo state keeps copies of the control plane's database.

Usage:
  kubesolo state copy [flags]             make a copy now
  kubesolo state list [flags]             what copies there are
  kubesolo state check [NAME] [flags]     check the database and all copies, or one copy
  kubesolo state restore NAME [flags]     replace the database by a copy (a name of the
                                          list, or the path of a file); the node starts again

Flags:
`

// ErrUsage is in the chain of an error that the caller's words led to.
var ErrUsage = errors.New("run `kubesolo state --help`")

// Environment is where the command works.
type Environment struct {
	Store  Store
	Socket string
	Out    io.Writer
}

// Command runs `kubesolo state` with the words after it.
func Command(ctx context.Context, env Environment, args []string) error {
	flags := pflag.NewFlagSet("state", pflag.ContinueOnError)
	flags.SetOutput(env.Out)
	format := flags.StringP("output", "o", "text", "text or json")
	flags.StringVar(&env.Store.Dir, "copies", env.Store.Dir, "directory of the copies")
	flags.Usage = func() { fmt.Fprint(env.Out, usage+flags.FlagUsages()) }
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil
		}
		return fmt.Errorf("%w; %w", err, ErrUsage)
	}
	if *format != "text" && *format != "json" {
		return fmt.Errorf("output %q is neither text nor json; %w", *format, ErrUsage)
	}
	c := command{Environment: env, json: *format == "json", node: client{env.Socket}}
	words := flags.Args()
	if len(words) == 0 {
		return fmt.Errorf("state: copy, list, check or restore? %w", ErrUsage)
	}
	verb, words := words[0], words[1:]
	switch {
	case verb == "copy" && len(words) == 0:
		return c.copy(ctx)
	case verb == "list" && len(words) == 0:
		return c.list()
	case verb == "check" && len(words) <= 1:
		return c.check(ctx, strings.Join(words, ""))
	case verb == "restore" && len(words) == 1:
		return c.restore(ctx, words[0])
	}
	return fmt.Errorf("state: cannot make sense of %q; %w", strings.Join(append([]string{verb}, words...), " "), ErrUsage)
}

type command struct {
	Environment
	json bool
	node client
}

func (c command) print(value any, text string) error {
	if c.json {
		return json.NewEncoder(c.Out).Encode(value)
	}
	_, err := fmt.Fprintln(c.Out, text)
	return err
}

func (c command) copy(ctx context.Context) error {
	var made Copy
	running, err := c.node.post(ctx, "/v1/copy", "", &made)
	if err == nil && !running {
		made, err = c.copyStopped(ctx)
	}
	if err != nil {
		return err
	}
	return c.print(made, fmt.Sprintf("%s, %d kB", made.Name, made.Size>>10))
}

// copyStopped reads the file of a node that does not run, log and all, without
// changing either.
func (c command) copyStopped(ctx context.Context) (made Copy, err error) {
	if _, err := os.Stat(c.Store.File); err != nil {
		return Copy{}, fmt.Errorf("copy: %w", err)
	}
	db, err := sql.Open("sqlite", "file:"+c.Store.File+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		return Copy{}, fmt.Errorf("copy: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return c.Store.Make(ctx, db)
}

func (c command) list() error {
	list, err := c.Store.List()
	if err != nil {
		return err
	}
	if c.json {
		return c.print(append([]Copy{}, list...), "")
	}
	if len(list) == 0 {
		return c.print(nil, "no copies in "+c.Store.Dir)
	}
	table := tabwriter.NewWriter(c.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tAGE\tKB\tKEY")
	for _, copied := range list {
		key := "same"
		if copied.Key != c.Store.Key {
			key = "other"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", copied.Name, time.Since(copied.Made).Round(time.Minute), copied.Size>>10, key)
	}
	return table.Flush()
}

type verdict struct {
	File  string `json:"file"`
	Sound bool   `json:"sound"`
	Error string `json:"error,omitempty"`
}

func (c command) check(ctx context.Context, name string) error {
	var verdicts []verdict
	judge := func(file string, err error) {
		v := verdict{File: file, Sound: err == nil}
		if err != nil {
			v.Error = err.Error()
		}
		verdicts = append(verdicts, v)
	}
	if name != "" {
		judge(name, recovery.CheckCopy(ctx, c.locate(name)))
	} else {
		if _, err := os.Stat(c.Store.File); err == nil {
			running, err := c.node.post(ctx, "/v1/check", "", nil)
			if err == nil && !running {
				err = recovery.Check(ctx, c.Store.File)
			}
			judge(c.Store.File, err)
		}
		list, err := c.Store.List()
		if err != nil {
			return err
		}
		for _, copied := range list {
			judge(copied.Name, recovery.CheckCopy(ctx, c.Store.Path(copied)))
		}
	}
	var lines []string
	bad := 0
	for _, v := range verdicts {
		word := "sound"
		if !v.Sound {
			word = v.Error
			bad++
		}
		lines = append(lines, v.File+": "+word)
	}
	if err := c.print(append([]verdict{}, verdicts...), strings.Join(lines, "\n")); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("check: %d of %d are damaged", bad, len(verdicts))
	}
	return nil
}

func (c command) restore(ctx context.Context, name string) error {
	source, err := filepath.Abs(c.locate(name))
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if _, err := os.Stat(source); err != nil {
		return fmt.Errorf("restore: %w; `kubesolo state list` has the names", err)
	}
	when := "the node starts again with it now"
	running, err := c.node.post(ctx, "/v1/restore", source, nil)
	if err == nil && !running {
		when = "the next start of the node uses it"
		err = c.restoreStopped(ctx, source)
	}
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s is in place: %s; what was written since is lost, the former database is kept beside it", name, when)
	if copied, ok := parseName(filepath.Base(source)); ok && copied.Key != c.Store.Key {
		text += "\n" + recovery.OtherKey
	}
	return c.print(struct {
		Restored string `json:"restored"`
		Running  bool   `json:"running"`
	}{name, running}, text)
}

func (c command) restoreStopped(ctx context.Context, source string) error {
	release, err := recovery.Lock(ctx, c.Store.File, 5*time.Second)
	if err != nil {
		return fmt.Errorf("restore: %w; if a node is starting, try again in a moment", err)
	}
	return errors.Join(prepare(ctx, c.Store.File, source), release())
}

// locate takes a word with a slash as a path.
func (c command) locate(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return filepath.Join(c.Store.Dir, name)
}
