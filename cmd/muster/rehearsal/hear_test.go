package rehearsal

import "testing"

func TestDevicesAreAskedForByRangesOfTheirNumbers(t *testing.T) {
	for _, c := range []struct {
		numbers []uint32
		want    string
	}{
		{nil, "false"},
		{[]uint32{0, 0}, "false"},
		{[]uint32{7}, "device_no BETWEEN 7 AND 7"},
		{[]uint32{3, 1, 2, 0, 9, 8}, "device_no BETWEEN 1 AND 3 OR device_no BETWEEN 8 AND 9"},
	} {
		if got := among(c.numbers); got != c.want {
			t.Errorf("among(%v) is %q, want %q", c.numbers, got, c.want)
		}
	}
}
