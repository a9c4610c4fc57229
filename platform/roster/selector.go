package roster

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"muster.dev/proto/event"
)

// Bounds of a selector.
const (
	MaxSelector       = 1_024 // bytes
	MaxSelectorTerms  = 16
	MaxSelectorValues = 64 // of one term
)

// Selector picks devices by their attributes. All of its terms, joined by commas, must hold:
//
//	key=value          the attribute has this value
//	key!=value         it has another one, or the device has no such attribute
//	key in (a, b, c)   it has one of these values
//	key                the device has the attribute
//
// The keys cohort, profile and region stand for what the registry says of the device. A value that holds a comma, a
// parenthesis, a quotation mark or outer blanks is written in double quotes, \" and \\ inside.
type Selector struct{ terms []term }

type operator uint8

const (
	is operator = iota
	isNot
	isIn
	exists
)

type term struct {
	key    string
	op     operator
	values []string
}

// Reserved says whether a key of selectors stands for something else than an attribute.
func Reserved(key string) bool { return key == "cohort" || key == "profile" || key == "region" }

// ParseSelector reads a selector.
func ParseSelector(text string) (Selector, error) {
	if len(text) > MaxSelector {
		return Selector{}, fmt.Errorf("selector has %d bytes, the limit is %d", len(text), MaxSelector)
	}
	p := selectorParser{rest: text}
	var s Selector
	for {
		if len(s.terms) == MaxSelectorTerms {
			return Selector{}, fmt.Errorf("selector has more than %d terms", MaxSelectorTerms)
		}
		t, err := p.term()
		if err != nil {
			return Selector{}, fmt.Errorf("selector, at byte %d: %w", len(text)-len(p.rest)+1, err)
		}
		s.terms = append(s.terms, t)
		p.blanks()
		if p.rest == "" {
			if n := len(s.String()); n > MaxSelector {
				return Selector{}, fmt.Errorf("selector has %d bytes when it is written out, the limit is %d", n, MaxSelector)
			}
			return s, nil
		}
		if !p.take(",") {
			return Selector{}, fmt.Errorf("selector, at byte %d: want a comma between terms", len(text)-len(p.rest)+1)
		}
	}
}

type selectorParser struct{ rest string }

func (p *selectorParser) blanks() { p.rest = strings.TrimLeft(p.rest, " ") }

func (p *selectorParser) take(token string) bool {
	rest, ok := strings.CutPrefix(p.rest, token)
	p.rest = rest
	return ok
}

func (p *selectorParser) term() (term, error) {
	p.blanks()
	end := strings.IndexFunc(p.rest, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' })
	if end < 0 {
		end = len(p.rest)
	}
	t := term{key: p.rest[:end], op: exists}
	if !event.AttributeKey(t.key) {
		return term{}, fmt.Errorf("%.64q is no key: want a-z, then a-z, 0-9 or _", t.key)
	}
	p.rest = p.rest[end:]
	before := p.rest
	p.blanks()
	switch {
	case p.take("!="):
		t.op = isNot
	case p.take("="):
		t.op = is
	case before != p.rest && p.take("in"):
		t.op = isIn
		return p.list(t)
	default:
		return t, nil
	}
	value, err := p.value()
	t.values = []string{value}
	return t, err
}

func (p *selectorParser) list(t term) (term, error) {
	p.blanks()
	if !p.take("(") {
		return term{}, errors.New("want ( after in")
	}
	for {
		if len(t.values) == MaxSelectorValues {
			return term{}, fmt.Errorf("more than %d values", MaxSelectorValues)
		}
		value, err := p.value()
		if err != nil {
			return term{}, err
		}
		t.values = append(t.values, value)
		if p.take(")") {
			return t, nil
		}
		if !p.take(",") {
			return term{}, errors.New("want , or ) after a value")
		}
	}
}

const special = `,()"\`

func (p *selectorParser) value() (string, error) {
	p.blanks()
	var value string
	if strings.HasPrefix(p.rest, `"`) {
		var err error
		if value, err = p.quoted(); err != nil {
			return "", err
		}
	} else {
		end := strings.IndexAny(p.rest, special)
		if end < 0 {
			end = len(p.rest)
		}
		value = strings.TrimRight(p.rest[:end], " ")
		if value == "" {
			return "", errors.New(`want a value; the empty one is written ""`)
		}
		p.rest = p.rest[end:]
	}
	p.blanks()
	if !event.AttributeValue(value) {
		return "", fmt.Errorf("%.64q is no value: want text of at most %d bytes", value, event.MaxAttributeValue)
	}
	return value, nil
}

func (p *selectorParser) quoted() (string, error) {
	var out strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case '"':
			p.rest = p.rest[i+1:]
			return out.String(), nil
		case '\\':
			if i++; i == len(p.rest) || p.rest[i] != '"' && p.rest[i] != '\\' {
				return "", errors.New(`want " or \ after \`)
			}
			out.WriteByte(p.rest[i])
		default:
			out.WriteByte(c)
		}
	}
	return "", errors.New(`want a closing "`)
}

// String writes the selector as it is read.
func (s Selector) String() string {
	var out strings.Builder
	for i, t := range s.terms {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString(t.key)
		switch t.op {
		case is:
			out.WriteString("=" + quote(t.values[0]))
		case isNot:
			out.WriteString("!=" + quote(t.values[0]))
		case isIn:
			out.WriteString(" in (")
			for i, v := range t.values {
				if i > 0 {
					out.WriteByte(',')
				}
				out.WriteString(quote(v))
			}
			out.WriteByte(')')
		}
	}
	return out.String()
}

func quote(value string) string {
	if value != "" && !strings.ContainsAny(value, special) && strings.Trim(value, " ") == value {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}

// Match says whether the selector selects a device whose profile has this name. One without terms selects none.
func (s Selector) Match(d *Device, profile string) bool {
	for i := range s.terms {
		if !s.terms[i].match(d, profile) {
			return false
		}
	}
	return len(s.terms) > 0
}

func (t *term) match(d *Device, profile string) bool {
	var value string
	var has bool
	switch t.key {
	case "cohort":
		value = d.Cohort
		has = value != ""
	case "profile":
		value = profile
		has = value != ""
	case "region":
		value = d.Region
		has = value != ""
	default:
		value, has = d.Attribute(t.key)
	}
	switch t.op {
	case is:
		return has && value == t.values[0]
	case isNot:
		return !has || value != t.values[0]
	case isIn:
		return has && slices.Contains(t.values, value)
	}
	return has
}
