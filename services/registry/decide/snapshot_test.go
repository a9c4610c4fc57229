package decide

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"muster.dev/proto/event"
)

// As many manufacturers as there may be, each with as much as one may have: a section of a snapshot must hold them.
func TestTheMostManufacturersHaveASnapshot(t *testing.T) {
	s := NewState()
	if _, err := s.Extend(time.Now(), "test", "", event.CohortDefined{Cohort: "c"}); err != nil { // a snapshot of nothing is none
		t.Fatal(err)
	}
	der := make([]byte, event.MaxDER)
	for i := range MaxManufacturers {
		m := Manufacturer{Name: fmt.Sprint("m", i)}
		for range event.MaxAuthorities {
			m.Certificates = append(m.Certificates, der)
		}
		s.manufacturers[m.Name] = m
	}
	var out bytes.Buffer
	if err := s.Freeze().Write(&out); err != nil {
		t.Fatal(err)
	}
	again, err := ReadState(&out)
	if err != nil || len(again.Manufacturers()) != MaxManufacturers {
		t.Fatal(err)
	}
}
