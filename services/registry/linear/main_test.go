package linear

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

// envOrder holds what this binary is to be, instead of running tests: a registry.
const envOrder = "MUSTER_TEST_REGISTRY"

func TestMain(m *testing.M) {
	if order := os.Getenv(envOrder); order != "" {
		os.Exit(playRegistry(order))
	}
	goleak.VerifyTestMain(m)
}

// full says that this is the torture and not the tests alone.
func full() bool { return os.Getenv("MUSTER_TORTURE") == "full" }

// chances are the test's, from a seed that replays them.
func chances(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("MUSTER_TEST_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d (MUSTER_TEST_SEED replays it)", seed)
	return rand.New(rand.NewPCG(seed, 30))
}
