package door

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestChatterIsWhatNoRequestAccountsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := chatter{began: time.Now()}
		if !c.came(mostChatter) {
			t.Error("not above the limit yet")
		}
		if c.came(1) {
			t.Error("above the limit")
		}
		c.account(mostChatter)
		if !c.came(mostChatter - 1) {
			t.Error("a request accounted for it")
		}
		c.account(10 * mostChatter)
		if !c.came(mostChatter) || c.came(1) {
			t.Error("what a request brings above what came is credit")
		}
		<-time.After(time.Minute)
		if !c.came(60*chatterPerSecond - 1) {
			t.Error("a long life brings some chatter")
		}
		if c.came(1) {
			t.Error("and no more")
		}
	})
}
