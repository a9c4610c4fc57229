package warehousetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"muster.dev/platform/warehouse"
)

// patience is how long is waited where no time is promised.
const patience = 3 * time.Minute

// Column is what a question's one column of texts holds, or the error as its one line. The question names the database muster.
func Column(t testing.TB, w *warehouse.Warehouse, query string) (lines []string) {
	t.Helper()
	list, err := w.Conn().Query(t.Context(), strings.ReplaceAll(query, "muster.", w.Database()+"."))
	if err != nil {
		return []string{err.Error()}
	}
	defer list.Close()
	for list.Next() {
		var s string
		if err := list.Scan(&s); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, s)
	}
	return lines
}

// Shows waits until a question has this answer.
func Shows(t testing.TB, w *warehouse.Warehouse, query string, want ...string) {
	t.Helper()
	var got []string
	pause := 20 * time.Millisecond // growing: the engine has more to do than to answer this
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(pause) {
		if got = Column(t, w, query); slices.Equal(got, want) {
			return
		}
		pause = min(pause*5/4, 500*time.Millisecond)
	}
	t.Fatalf("%s\nshows %s\nwant  %s", query, strings.Join(got, "\n      "), strings.Join(want, "\n      "))
}
