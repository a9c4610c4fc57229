package decide

import (
	"regexp"
	"slices"
	"strings"

	"muster.dev/proto/batch"
)

var (
	cohortName  = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	profileName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,30}$`) // it becomes the name of a table
)

// DefaultProfile is the profile of a device that is enrolled without one.
const DefaultProfile = "default"

// classes stand at their numbers, as in the warehouse's Enum8.
var classes = []string{"standard", "debug", "audit", "cold"}

// ParseClass reads the name of a retention class; none is standard.
func ParseClass(name string) (uint8, error) {
	if name == "" {
		return 0, nil
	}
	if i := slices.Index(classes, name); i >= 0 {
		return uint8(i), nil
	}
	return 0, invalid("class", "%.40q: want one of %s", name, strings.Join(classes, ", "))
}

// ClassName is the name of a retention class.
func ClassName(class uint8) string {
	if int(class) < len(classes) {
		return classes[class]
	}
	return ""
}

// ParseKind reads the name of a kind of metric.
func ParseKind(name string) (batch.Kind, error) {
	for _, k := range []batch.Kind{batch.Int, batch.Float, batch.Bool, batch.Text} {
		if k.String() == name {
			return k, nil
		}
	}
	return 0, invalid("kind", "%.40q: want one of int, float, bool, text", name)
}
