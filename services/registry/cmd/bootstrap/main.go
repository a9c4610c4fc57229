// Command bootstrap makes the certificate authority, the server certificates and the secrets of the Compose
// stack, or prints one secret for an operator.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/bootstrap"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bootstrap:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("bootstrap", flag.ContinueOnError)
	dir := flags.String("dir", "/identity", "`FOLDER` that holds a folder for each process")
	domain := flags.String("trust-domain", authority.DefaultTrustDomain, "host part of every device's identity")
	owners := flags.Bool("compose", false, "give each folder to its process's user; needs the right to chown")
	show := flags.String("print", "", "print one of the operator's `SECRETS` (operator-token, kafka-reader, admin-password) and exit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *show != "" {
		value, err := os.ReadFile(filepath.Join(*dir, "operator", filepath.Base(*show)))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(stdout, "%s\n", value)
		return err
	}
	var chown func(string, int) error
	if *owners {
		chown = func(path string, uid int) error { return os.Lchown(path, uid, uid) }
	}
	findings, err := bootstrap.Make(*dir, *domain, bootstrap.Compose(), chown)
	if err != nil {
		return err
	}
	for _, sentence := range findings {
		if _, err := fmt.Fprintln(stdout, "bootstrap:", sentence); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(stdout, "bootstrap: every process has its files in", *dir)
	return err
}
