package follow

import "testing"

func TestWhatIsNotReadyIsSaidInOneLine(t *testing.T) {
	if err := unready(nil, nil); err != nil {
		t.Error(err)
	}
	for want, lines := range map[string][2][]string{
		"b; a":                                 {{"b"}, {"a"}},
		"z; a; b; c; and 2 more are not ready": {{"z"}, {"e", "d", "c", "b", "a"}},
	} {
		if err := unready(lines[0], lines[1]); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
