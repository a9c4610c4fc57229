package verbs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"muster.dev/cmd/muster/stack"
	v1 "muster.dev/services/registry/api/v1"
	"muster.dev/services/registry/authority"
	"muster.dev/services/registry/wholefile"
)

func certificateAuthority(f *frame) *cobra.Command {
	cmd := noun(&cobra.Command{Use: "ca", Short: "The fleet's certificate authority: a root that is kept offline, and what it lets issue"})
	cmd.AddCommand(caInit(f), caShow(f), caRoll(f), caRetire(f))
	return cmd
}

// rootKey is where the root's key is or goes, as the command line says it.
type rootKey struct{ file, seal string }

func (k *rootKey) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.file, "root-key", "", "the `FILE` of the root's key, without its ending (default ca/root in the data directory)")
	cmd.Flags().StringVar(&k.seal, "root-seal", "", "a `FILE` with the line of age that seals the root's key, AGE-SECRET-KEY-1... or for ca init also age1... (default the stack's own)")
}

func (k *rootKey) options(dir stack.Dir) ([]authority.Option, error) {
	options, err := dir.Authority()
	if err != nil {
		return nil, err
	}
	var seal authority.Seal
	if k.seal != "" {
		if seal, err = authority.ReadSeal(k.seal); err != nil {
			return nil, misuse{fmt.Errorf("--root-seal: %w", err)}
		}
	}
	file := k.file
	if file != "" {
		if file, err = filepath.Abs(file); err != nil {
			return nil, misuse{fmt.Errorf("--root-key: %w", err)}
		}
	}
	return append(options, authority.WithRootKey(file, seal)), nil
}

// caShown is what the ca verbs print with --json.
type caShown struct {
	v1.Authority
	Findings []string `json:"findings"`
	// uncounted is what files say alone: no registry was asked for how many devices each issuer has.
	uncounted bool
}

func caInit(f *frame) *cobra.Command {
	var key rootKey
	var trustDomain string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the certificate authority in a data directory, before the first `muster up`",
		Long: "Makes a root, whose key nothing needs until it is rolled over, and an issuing certificate under it. Both keys are sealed; the\n" +
			"seal is in the directory's secrets. Name with --root-key a place off this machine, or move the key away afterwards: this says\n" +
			"which file. May be repeated: what exists is kept.",
		Example: "  muster ca init --root-key /media/stick/root --root-seal officer.age",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := f.dir()
			if err != nil {
				return err
			}
			if err := ensureSeal(dir); err != nil {
				return err
			}
			_, missing := os.Stat(filepath.Join(dir.CA(), authority.RootFile))
			options, err := key.options(dir)
			if err != nil {
				return err
			}
			a, err := authority.Init(dir.CA(), trustDomain, options...)
			if err != nil {
				return fmt.Errorf("making the certificate authority: %w", err)
			}
			f.say("the certificate authority of %s is in %s", a.TrustDomain(), stack.Shown(dir.CA()))
			if missing == nil {
				f.say("it was there already, and is kept as it was")
				return f.printCA(dir, a)
			}
			if key.file != "" {
				f.say("the root's key is %s.key.age: keep it where no network reaches it, and what opens it elsewhere", key.file)
			}
			if key.seal == "" {
				f.say("what opens it is %s: keep a copy of that too, or the root's key is lost with this directory", stack.Shown(dir.SecretFile(stack.SecretCASeal)))
			}
			return f.printCA(dir, a)
		},
	}
	key.flags(cmd)
	cmd.Flags().StringVar(&trustDomain, "trust-domain", authority.DefaultTrustDomain, "the `DOMAIN` of every identity: spiffe://DOMAIN/device/NAME")
	return cmd
}

// ensureSeal makes the secret that seals the authority's keys, where `muster up` would have made it.
func ensureSeal(dir stack.Dir) error {
	path := dir.SecretFile(stack.SecretCASeal)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil // what is wrong with it shows when it is read
	}
	for _, d := range []string{string(dir), filepath.Dir(path)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("making the data directory: %w", err)
		}
	}
	seal, err := authority.NewSeal()
	if err != nil {
		return err
	}
	return wholefile.Write(path, []byte(seal+"\n"), 0o600)
}

func caShow(f *frame) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "What is trusted, who issues, and what should not stay as it is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := f.dir()
			if err != nil {
				return err
			}
			if _, err := dir.Running(); err == nil {
				reg, _, err := f.registry()
				if err != nil {
					return err
				}
				defer reg.Close()
				shown := caShown{}
				if shown.Authority, err = reg.Authority(cmd.Context()); err != nil {
					return fmt.Errorf("ca show: %w", err)
				}
				if shown.Findings, err = authority.Findings(dir.CA(), time.Now()); err != nil {
					return err
				}
				return f.printShown(shown)
			}
			options, err := dir.Authority()
			if err != nil {
				return err
			}
			a, err := authority.Open(dir.CA(), options...)
			if err != nil {
				return err
			}
			return f.printCA(dir, a)
		},
	}
}

func caRoll(f *frame) *cobra.Command {
	var key rootKey
	var root, lost bool
	var oldKey, oldSeal string
	cmd := &cobra.Command{
		Use:   "roll",
		Short: "Put a new issuing certificate into use, or with --root a new root too; the old ones stay trusted",
		Long: "The root's key must be at hand: name it with --root-key. A registry that runs takes the new certificate into use by itself,\n" +
			"and devices get theirs from it as they renew. When all have, `muster ca retire` ends the old one.\n\n" +
			"With --root, --root-key says where the new root's key goes and --old-root-key where the old one's is.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := f.dir()
			if err != nil {
				return err
			}
			options, err := key.options(dir)
			if err != nil {
				return err
			}
			var id string
			if root {
				old := rootKey{file: oldKey, seal: oldSeal}
				if lost {
					options = append(options, authority.WithoutOldRoot())
				}
				var seal authority.Seal
				if old.seal != "" {
					if seal, err = authority.ReadSeal(old.seal); err != nil {
						return misuse{fmt.Errorf("--old-root-seal: %w", err)}
					}
				}
				id, err = authority.RollRoot(dir.CA(), old.file, seal, options...)
			} else {
				id, err = authority.RollIssuing(dir.CA(), options...)
			}
			if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("%w\nBring the root's key, and name its file with --root-key; with --root, --old-root-key names the old one's. What opens it is the stack's own seal, or --root-seal", err)
			}
			if err != nil {
				return fmt.Errorf("rolling the certificate authority over: %w", err)
			}
			f.say("issuing certificate %s is in use; older ones stay good until they are retired or revoked", id)
			if _, err := dir.Running(); err == nil {
				f.say("the registry that runs takes it into use within 10 seconds: then `muster ca show` says so, with the devices that each has")
			}
			a, err := authority.Open(dir.CA(), options...)
			if err != nil {
				return err
			}
			return f.printCA(dir, a)
		},
	}
	key.flags(cmd)
	cmd.Flags().BoolVar(&root, "root", false, "a new root too")
	cmd.Flags().StringVar(&oldKey, "old-root-key", "", "with --root: the `FILE` of the old root's key, without its ending")
	cmd.Flags().StringVar(&oldSeal, "old-root-seal", "", "with --root: a `FILE` with what opens it")
	cmd.Flags().BoolVar(&lost, "old-root-lost", false, "with --root: go on without the old root's key; devices that have not fetched the new root then do not trust the servers")
	return cmd
}

func caRetire(f *frame) *cobra.Command {
	return &cobra.Command{
		Use:   "retire ID",
		Short: "End a root, or the key of an issuing certificate, that is not in use any more",
		Long:  "What an issuing certificate signed stays good until its end: to refuse it, `muster device revoke --issuer ID`.",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := f.dir()
			if err != nil {
				return err
			}
			options, err := dir.Authority()
			if err != nil {
				return err
			}
			if err := authority.Retire(dir.CA(), args[0], options...); err != nil {
				return fmt.Errorf("retiring %s: %w", args[0], err)
			}
			a, err := authority.Open(dir.CA(), options...)
			if err != nil {
				return err
			}
			return f.printCA(dir, a)
		},
	}
}

// printCA shows an authority as its files are.
func (f *frame) printCA(dir stack.Dir, a *authority.Authority) error {
	_, issuing := a.Issuing()
	shown := caShown{Authority: v1.Authority{TrustDomain: a.TrustDomain(), Issuing: issuing}, uncounted: true}
	for _, c := range a.Roots() {
		shown.Roots = append(shown.Roots, v1.Issuer{Issuer: authority.ID(c), Subject: c.Subject.String(), NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC()})
	}
	for _, c := range a.Issuers() {
		shown.Issuers = append(shown.Issuers, v1.Issuer{Issuer: authority.ID(c), Subject: c.Subject.String(), NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC()})
	}
	var err error
	if shown.Findings, err = authority.Findings(dir.CA(), time.Now()); err != nil {
		return err
	}
	return f.printShown(shown)
}

func (f *frame) printAuthority(a v1.Authority) error { return f.printShown(caShown{Authority: a}) }

func (f *frame) printShown(shown caShown) error {
	if shown.Findings == nil {
		shown.Findings = []string{}
	}
	if f.json {
		return f.printJSON(shown)
	}
	fmt.Fprintf(f.Out, "trust domain %s\n\n", shown.TrustDomain)
	err := table(f.Out, "KIND\tID\tFROM\tUNTIL\tDEVICES\tSTATE", func(row func(...any)) {
		for _, r := range shown.Roots {
			row("root", r.Issuer, r.NotBefore, r.NotAfter, "", "trusted")
		}
		for _, i := range shown.Issuers {
			state := "older"
			switch {
			case i.Revoked:
				state = "revoked"
			case i.Issuer == shown.Issuing:
				state = "issues"
			}
			devices := strconv.Itoa(i.Devices)
			if shown.uncounted {
				devices = ""
			}
			row("issuing", i.Issuer, i.NotBefore, i.NotAfter, devices, state)
		}
	})
	for _, finding := range shown.Findings {
		fmt.Fprintf(f.Out, "\n%s\n", finding)
	}
	return err
}
