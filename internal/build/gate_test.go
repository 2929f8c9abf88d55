package build

// alone runs fn with the document of a fresh process.
func (g *schemaGate) alone(fn func()) {
	g.lockAlone()
	defer g.unlockAlone()
	fn()
}
