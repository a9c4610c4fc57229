package sink

import (
	"fmt"
	"testing"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/warehousetest"
)

func TestTheLedgersEndIsFoundWhateverTheStep(t *testing.T) {
	s := store{warehousetest.Start(t)}
	for _, off := range []int{3, 4, 5, 6, 9} {
		err := s.Conn().Exec(t.Context(), fmt.Sprintf("INSERT INTO %s (topic_gen, part, off, outcome, got) VALUES (1, 0, %d, 'control', now64(3))", s.table("ledger"), off))
		if err != nil {
			t.Fatal(err)
		}
	}
	for from, want := range map[uint64]uint64{0: 0, 3: 7, 5: 7, 7: 7, 9: 10, 20: 20} {
		for _, step := range []uint64{1, 2, 3, 4, frontierStep} {
			if got, err := s.frontierBy(t.Context(), 1, 0, from, step); err != nil || got != want {
				t.Errorf("from %d by %d: %d, want %d, %v", from, step, got, want, err)
			}
		}
	}
}

func TestTheHighestSeqOfABootIsOfWhatIsStoredBelow(t *testing.T) {
	s := store{warehousetest.Start(t)}
	for off, row := range []string{"'stored', 7, 1, 5", "'quarantined', 7, 1, 9", "'duplicate', 7, 1, 20", fmt.Sprintf("'stored', 7, 1, %d", uint64(warehouse.Unkeyed)), "'stored', 8, 1, 2", "'stored', 7, 1, 30"} {
		err := s.Conn().Exec(t.Context(), fmt.Sprintf("INSERT INTO %s (topic_gen, part, off, got, outcome, device_no, boot, seq) VALUES (1, 0, %d, now64(3), %s)", s.table("ledger"), off, row))
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.highest(t.Context(), 1, 0, 5, [][2]uint32{{7, 1}, {7, 2}})
	if err != nil || len(got) != 1 || got[[2]uint32{7, 1}] != 9 {
		t.Errorf("%v, %v", got, err)
	}
}
