package est

import "testing"

func TestWhatAServerAnsweredStandsInOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "no\n": "no", "it is not good\nAsk an operator.\n": "it is not good; Ask an operator.", "a\x1b[2Jb": "a [2Jb",
	} {
		if got := said([]byte(in)); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}
