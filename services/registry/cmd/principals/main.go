// Command principals gives the log its users and their rights, once, at the start of an installation.
package main

import (
	"muster.dev/platform/daemon"
	"muster.dev/platform/principals"
)

func main() { daemon.Job("principals", principals.DefaultConfig(), principals.Apply) }
