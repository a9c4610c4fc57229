package stack

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/embedded/kafka"
	"muster.dev/platform/daemon"
	"muster.dev/platform/principals"
)

// logUsers are the embedded broker's users: the administrator, and every principal that the one table of rights
// speaks of, with the secret of its name. The broker takes them when it starts, before it lets anybody in; a broker
// that is not ours gets the same table by requests (principals.Ensure).
func logUsers(secrets map[string]daemon.Secret) []kafka.User {
	users := []kafka.User{{Name: principals.Admin, Secret: secrets[principals.Admin].Reveal(), Super: true}}
	at := map[string]int{}
	for _, g := range principals.Grants() {
		i, ok := at[g.Principal]
		if !ok {
			i = len(users)
			at[g.Principal] = i
			users = append(users, kafka.User{Name: g.Principal, Secret: secrets[g.Principal].Reveal()})
		}
		pattern := kmsg.ACLResourcePatternTypeLiteral
		if g.Prefixed {
			pattern = kmsg.ACLResourcePatternTypePrefixed
		}
		for _, op := range g.Operations {
			users[i].ACLs = append(users[i].ACLs, kafka.ACL{Resource: g.Resource, Name: g.Name, Pattern: pattern, Operation: op, Allow: true})
		}
	}
	return users
}
