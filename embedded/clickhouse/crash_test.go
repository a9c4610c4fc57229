package clickhouse

import (
	"fmt"
	"os"
)

// envChild makes the test binary a store on that directory, so that a test can kill it.
const envChild = "MUSTER_TEST_STORE_DIR"

func runChild(dir string) {
	s, err := Start(testConfig(dir))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("addr", s.Addr())
	select {} // until killed
}
