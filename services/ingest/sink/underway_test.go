package sink

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestASinkThatStoresNothingIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(DefaultConfig(), Settings{})
		if err != nil {
			t.Fatal(err)
		}
		s.m.workers.Add(1)
		slow, quick := &worker{}, &worker{}
		s.underWay.begin(slow)
		time.Sleep(stalledAfter - time.Second)
		s.underWay.begin(quick)
		s.underWay.begin(slow) // more work does not make the old work younger
		if err := s.Ready(); err != nil {
			t.Errorf("before its time: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "nothing has been stored for 31s") {
			t.Errorf("a stalled sink says %v", err)
		}
		s.underWay.end(slow)
		if err := s.Ready(); err != nil {
			t.Errorf("after the work was done: %v", err)
		}
		if age := s.underWay.oldest(); age != 2*time.Second {
			t.Errorf("the other's work is %v old", age)
		}
	})
}
