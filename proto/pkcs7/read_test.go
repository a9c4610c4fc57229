package pkcs7_test

import (
	"bytes"
	"testing"

	"muster.dev/proto/pkcs7"
)

func TestWhatWasWrittenIsRead(t *testing.T) {
	for n := range 4 {
		want := map[string]bool{}
		var certs [][]byte
		for range n {
			c := certificate(t, "device")
			certs, want[string(c)] = append(certs, c), true
		}
		der, err := pkcs7.CertsOnly(certs...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pkcs7.Certificates(der)
		if err != nil || len(got) != n {
			t.Fatalf("%d of %d: %v", len(got), n, err)
		}
		for _, c := range got {
			if !want[string(c.Raw)] {
				t.Errorf("%s was not written", c.Subject)
			}
		}
		for cut := range der {
			if _, err := pkcs7.Certificates(der[:cut]); err == nil {
				t.Fatalf("%d of %d bytes are a message", cut, len(der))
			}
		}
	}
	if _, err := pkcs7.Certificates(bytes.Repeat([]byte{0x30}, pkcs7.MaxMessage+1)); err == nil {
		t.Error("a message above the limit was read")
	}
}
