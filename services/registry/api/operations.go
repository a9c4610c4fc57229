package api

// operations are all ways of calling the API, in the order in which a reader meets them.
func operations() []operation {
	var all []operation
	for _, of := range [][]operation{deviceOperations(), actingOperations(), certificateOperations(), cohortOperations(), groupOperations(), lineOperations(),
		passwordOperations(), manufacturerOperations(), tokenOperations(), authorityOperations(), securityOperations(), schemaOperations(), incidentOperations(),
	} {
		all = append(all, of...)
	}
	return all
}
