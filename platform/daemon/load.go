package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Validator is a configuration that can say what is wrong with it.
type Validator interface{ Validate() error }

// Load fills cfg, a pointer to a struct that holds its defaults, in this order: the YAML file (none when path is
// empty), the environment, the files of secrets. It then calls cfg's Validate if it has one.
//
// The file is strict: an unknown or doubled key is an error that names it and its line. A leaf at section.key is
// overridden by MUSTER_SECTION_KEY, parsed as YAML; a list of strings may also be given with commas. Durations
// carry units ("5s"); bare numbers are refused.
func Load(path string, cfg any, lookup func(string) (string, bool)) error {
	v := reflect.ValueOf(cfg)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("configuration is a %T, want a pointer to a struct", cfg)
	}
	if path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}
		if err := decodeStrict(raw, cfg); err != nil {
			return fmt.Errorf("configuration %s: %w", path, err)
		}
	}
	if lookup != nil {
		if err := fromEnvironment("MUSTER", v.Elem(), lookup); err != nil {
			return err
		}
	}
	if err := readSecrets("", v.Elem()); err != nil {
		return err
	}
	if val, ok := cfg.(Validator); ok {
		if err := val.Validate(); err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
	}
	return nil
}

// Dump writes the effective configuration as YAML with its secrets redacted.
func Dump(w io.Writer, cfg any) error {
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(cfg); err != nil {
		return fmt.Errorf("dump configuration: %w", err)
	}
	return enc.Close()
}

func decodeStrict(raw []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("more than one document")
	}
	return nil
}

// fields calls fn for each exported field with its YAML key; an inlined struct passes on its own fields.
func fields(v reflect.Value, fn func(key string, name string, field reflect.Value) error) error {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		key, rest, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if !f.IsExported() || key == "-" {
			continue
		}
		if strings.Contains(rest, "inline") && f.Type.Kind() == reflect.Struct {
			if err := fields(v.Field(i), fn); err != nil {
				return err
			}
			continue
		}
		if key == "" {
			key = strings.ToLower(f.Name) // what the YAML package does
		}
		if err := fn(key, f.Name, v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

func isSection(v reflect.Value) bool {
	if v.Kind() != reflect.Struct {
		return false
	}
	// A struct that reads itself from text, as a time does, is a leaf.
	_, text := v.Addr().Interface().(interface{ UnmarshalText([]byte) error })
	_, own := v.Addr().Interface().(yaml.Unmarshaler)
	return !text && !own
}

func fromEnvironment(prefix string, v reflect.Value, lookup func(string) (string, bool)) error {
	return fields(v, func(key, _ string, field reflect.Value) error {
		name := prefix + "_" + strings.ToUpper(key)
		if isSection(field) {
			return fromEnvironment(name, field, lookup)
		}
		text, ok := lookup(name)
		if !ok {
			return nil
		}
		switch {
		case field.Kind() == reflect.String:
			field.SetString(text) // as it stands: a secret may hold any sign of YAML
			return nil
		case field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.String && !strings.HasPrefix(strings.TrimSpace(text), "["):
			list := reflect.MakeSlice(field.Type(), 0, 4)
			for part := range strings.SplitSeq(text, ",") {
				if part = strings.TrimSpace(part); part != "" {
					list = reflect.Append(list, reflect.ValueOf(part).Convert(field.Type().Elem()))
				}
			}
			field.Set(list)
			return nil
		}
		fresh := reflect.New(field.Type())
		if err := decodeStrict([]byte(text), fresh.Interface()); err != nil {
			return fmt.Errorf("environment %s=%q: %w", name, text, err)
		}
		field.Set(fresh.Elem())
		return nil
	})
}

var secretType = reflect.TypeFor[Secret]()

// readSecrets fills each Secret field X from the path in XFile beside it, in lists of sections too.
func readSecrets(prefix string, v reflect.Value) error {
	return fields(v, func(key, name string, field reflect.Value) error {
		if field.Type() != secretType {
			return secretsIn(prefix+key, field)
		}
		file := v.FieldByName(name + "File")
		if !file.IsValid() || file.Kind() != reflect.String || file.String() == "" {
			return nil
		}
		if field.String() != "" {
			return fmt.Errorf("%s%s and %s%s_file are both set", prefix, key, prefix, key)
		}
		secret, err := ReadSecret(file.String())
		if err != nil {
			return fmt.Errorf("%s%s_file: %w", prefix, key, err)
		}
		field.SetString(secret.Reveal())
		return nil
	})
}

// secretsIn reads those of a value that is a section, or holds some.
func secretsIn(at string, v reflect.Value) error {
	switch {
	case isSection(v):
		return readSecrets(at+".", v)
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return secretsIn(at, v.Elem())
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			if err := secretsIn(fmt.Sprintf("%s[%d]", at, i), v.Index(i)); err != nil {
				return err
			}
		}
	}
	return nil
}
