"""Remember what each user wants: feedback in, a posterior over weights out, kept in a database that exports and deletes what it holds of anyone."""
