package clickhouse

import (
	"net/url"
	"slices"
	"strings"
)

// setting is one of ClickHouse's settings as the URL gives it.
type setting struct{ name, value string }

// httpParams are the URL's parameters that are no settings: the server's HTTP handler takes them itself.
var httpParams = []string{
	"query", "database", "user", "password", "default_format", "query_id", "session_id", "session_timeout", "session_check",
	"close_session", "compress", "decompress", "client_protocol_version", "wait_end_of_query", "buffer_size", "quota_key",
	"stacktrace", "role", "initial_query_id",
}

// settingsOf tells settings and {name:Type} parameters in a URL apart. The order is the alphabet's, so that the
// same request sets the same things in the same order.
func settingsOf(q url.Values) (settings []setting, params []param, err error) {
	names := make([]string, 0, len(q))
	for name := range q {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value := q.Get(name)
		switch p, isParam := strings.CutPrefix(name, "param_"); {
		case isParam:
			params = append(params, param{p, value})
		case slices.Contains(httpParams, name):
		case !identifier.MatchString(name):
			return nil, nil, exceptionf(115, "Unknown setting %q. (UNKNOWN_SETTING)", name)
		default:
			settings = append(settings, setting{name, value})
		}
	}
	return settings, params, nil
}

// set applies settings to a connection, for its next statement.
func (c *conn) set(settings []setting) error {
	if len(settings) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("SET ")
	for i, s := range settings {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(s.name + " = " + literal(s.value))
	}
	return c.exec(b.String())
}
