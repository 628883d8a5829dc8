package recovery

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// rewrite copies the rows of the work file's tables to the new file and makes
// the indexes there. It reads no index: REINDEX and VACUUM both stop at a
// damaged one. It fails where a table cannot be read to its end.
func (cfg Config) rewrite(ctx context.Context) error {
	fresh := cfg.File + newSuffix
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := copyRows(ctx, cfg.work(), fresh); err != nil {
		return err
	}
	return complete(ctx, fresh)
}

func copyRows(ctx context.Context, from, to string) (err error) {
	// No journal and no sync: a file that is not completed is thrown away.
	db, err := open(to, "mode=rwc&_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "ATTACH ? AS old", from); err != nil {
		return err
	}
	tables, err := schemaOf(ctx, db, "table")
	if err != nil {
		return err
	}
	if len(tables) == 0 {
		return errors.New("it holds no tables")
	}
	indexes, err := schemaOf(ctx, db, "index")
	if err != nil {
		return err
	}
	var statements []string
	sequences := false
	for _, t := range tables {
		name := `"` + strings.ReplaceAll(t.name, `"`, `""`) + `"`
		statements = append(statements, t.sql, "INSERT INTO main."+name+" SELECT * FROM old."+name+" NOT INDEXED")
		sequences = sequences || strings.Contains(strings.ToUpper(t.sql), "AUTOINCREMENT")
	}
	if sequences {
		// Revisions must go on where they were, also over deleted rows.
		statements = append(statements, "DELETE FROM main.sqlite_sequence",
			"INSERT INTO main.sqlite_sequence SELECT * FROM old.sqlite_sequence")
	}
	for _, i := range indexes {
		statements = append(statements, i.sql)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%.40s: %w", s, err)
		}
	}
	return nil
}

type object struct {
	name, sql string
}

// schemaOf leaves out what SQLite makes by itself.
func schemaOf(ctx context.Context, db *sql.DB, kind string) (list []object, err error) {
	rows, err := db.QueryContext(ctx,
		"SELECT name, sql FROM old.sqlite_schema WHERE type = ? AND sql NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid", kind)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var o object
		if err := rows.Scan(&o.name, &o.sql); err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, rows.Err()
}
