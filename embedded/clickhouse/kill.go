package clickhouse

// kill answers KILL QUERY WHERE query_id = '...' [SYNC|ASYNC], with the id as the client gave it: the engine knows
// its queries by ids of its own. SYNC returns when the query is over; a query that has just ended is not found, as
// on the server. Any other condition goes to the engine as it stands.
func (q *request) kill(sql string, st statement, params []param) (done bool, err error) {
	id, ok := killedID(sql, st, params)
	if !ok {
		return false, nil
	}
	running := q.s.queries.get(id)
	if running == nil {
		return true, nil
	}
	status := "finished"
	if st.tokens[len(st.tokens)-1].is("ASYNC") || !st.hasWord("SYNC") {
		status = "waiting"
		if err := running.cancelIn(q.s.engine); err != nil {
			return true, err
		}
	} else {
		q.s.cancelUntilDone(q.r.Context(), running)
	}
	c, err := q.s.engine.connect()
	if err != nil {
		return true, err
	}
	defer c.close()
	row := "SELECT " + literal(status) + " AS kill_status, " + literal(running.id) + " AS query_id, " + literal(running.user) + " AS user, " + literal(running.text) + " AS query"
	return true, q.query(c, row, st, nil)
}

// killedID finds the id in WHERE query_id = 'id' or WHERE query_id = {name:String}.
func killedID(sql string, st statement, params []param) (string, bool) {
	for i := 0; i+3 < len(st.tokens); i++ {
		t := st.tokens[i:]
		if !t[0].is("WHERE") || !t[1].is("query_id") || sql[t[2].from:t[2].to] != "=" {
			continue
		}
		// Nothing may follow that narrows or widens the condition.
		switch {
		case t[3].kind == str:
			if !endsKill(sql, t[4:]) {
				return "", false
			}
			_, id := endQuote(sql, t[3].from)
			return id, true
		case len(t) > 7 && sql[t[3].from:t[3].to] == "{" && t[4].kind == word:
			if !endsKill(sql, t[8:]) {
				return "", false
			}
			for _, p := range params {
				if p.name == t[4].name {
					return p.value, true
				}
			}
		}
	}
	return "", false
}

func endsKill(sql string, rest []token) bool {
	for i, t := range rest {
		if t.is("FORMAT") && i+1 < len(rest) {
			return true
		}
		if !t.is("SYNC") && !t.is("ASYNC") && sql[t.from:t.to] != ";" {
			return false
		}
	}
	return true
}

func (s statement) hasWord(keyword string) bool {
	for _, t := range s.tokens {
		if t.is(keyword) {
			return true
		}
	}
	return false
}
