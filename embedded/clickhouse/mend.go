package clickhouse

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// mend makes a store startable whose disk was full while a view was replaced: the engine then says that it worked and
// leaves a definition of no bytes, which it refuses at its next start. Such a definition of a view that derived names
// is removed, to be made anew by whoever owns it; it held nothing, and a view holds no rows. A table's is not
// touched, since its rows would go with it: the start fails with a sentence.
func mend(data string, derived func(name string) bool, report func(view string)) error {
	return filepath.WalkDir(filepath.Join(data, "store"), func(path string, d fs.DirEntry, err error) error {
		switch {
		case os.IsNotExist(err):
			return nil
		case err != nil:
			return fmt.Errorf("look for broken definitions: %w", err)
		case d.IsDir() && strings.Count(strings.TrimPrefix(path, data), string(filepath.Separator)) > 3:
			return filepath.SkipDir // below store/<abc>/<uuid> there are parts, not definitions
		case d.IsDir() || filepath.Ext(path) != ".sql":
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return fmt.Errorf("look for broken definitions: %w", err)
		}
		if info.Size() > 0 {
			return nil
		}
		name := strings.TrimSuffix(d.Name(), ".sql")
		if derived == nil || !derived(name) {
			return fmt.Errorf("the definition of %q in %s is empty, as after a full disk: restore the file from a backup, "+
				"or drop the store and rebuild it from the log", name, path)
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove an empty definition: %w", err)
		}
		report(name)
		return nil
	})
}
