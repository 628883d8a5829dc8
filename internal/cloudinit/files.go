package cloudinit

import (
	"encoding/base64"
	"io/fs"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/config"
)

// defaultPermissions are cloud-init's.
const defaultPermissions fs.FileMode = 0o644

func (w *walker) files(n *yaml.Node) []config.File {
	var out []config.File
	w.list(n, "write_files", func(e *yaml.Node) {
		if f, ok := w.file(e); ok {
			out = append(out, f)
		}
	})
	return out
}

const (
	plainText = "text/plain"
	base64Key = "base64"
	b64       = "b64"
)

func (w *walker) file(n *yaml.Node) (config.File, bool) {
	const at = "write_files"
	f := config.File{Permissions: defaultPermissions}
	before := len(w.problems)
	var path *string
	var encoding, content string
	contentAt := n
	w.mapping(n, at,
		key{name: "path", must: true, doc: "Where it goes.", read: w.intoText(&path, at+".path", config.ValidFilePath)},
		key{name: "content", doc: "What it holds. Default: nothing.", read: func(n *yaml.Node) { content, _ = w.text(n, at+".content"); contentAt = n }},
		key{name: "permissions", doc: "Octal mode. Default: 0644.", read: func(n *yaml.Node) { f.Permissions = w.permissions(n) }},
		key{name: "encoding", doc: "How content is written down. Default: text/plain.", read: func(n *yaml.Node) {
			encoding, _ = w.choice(n, at+".encoding", []string{plainText, base64Key, b64})
		}},
		key{name: "owner", later: true},
		key{name: "append", later: true},
		key{name: "defer", later: true},
	)
	if len(w.problems) > before || n.Kind != yaml.MappingNode {
		return f, false
	}
	if path == nil {
		w.errorf(n, "%s: an entry has no path", at)
		return f, false
	}
	f.Path, f.Content = *path, []byte(content)
	if encoding == base64Key || encoding == b64 {
		clean := strings.Join(strings.Fields(content), "")
		b, err := base64.StdEncoding.DecodeString(clean)
		if err != nil {
			w.errorf(contentAt, "%s: the content of %s is not base64", at, f.Path)
			return f, false
		}
		f.Content = b
	}
	return f, true
}

// permissions are octal, quoted or not: 0644, '0644', 0o644.
func (w *walker) permissions(n *yaml.Node) fs.FileMode {
	s, ok := w.plain(n, "write_files.permissions")
	if !ok {
		return 0
	}
	v, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil || v > 0o777 {
		w.errorf(n, "write_files.permissions: %s is not an octal mode from 0 to 0777", shown(s))
		return 0
	}
	return fs.FileMode(v)
}
