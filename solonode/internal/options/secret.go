package options

// Secret is a string that is never printed.
type Secret string

// String hides the value; [Secret.Reveal] gives it.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(hidden)"
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// Reveal returns the value.
func (s Secret) Reveal() string { return string(s) }
