package rendering

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/Masterminds/sprig/v3"
)

// clock is the name of the function that instrument inserts.
const clock = "weirClock"

const (
	maxValue   = 256 << 10 // bytes and elements of what a function takes or gives
	maxProduct = 16 << 20  // of the two longest texts a function takes
	maxCount   = 10_000    // repetitions, indentation, numbers of a series
)

// withheld are functions of sprig's hermetic set that are not: they make keys
// and certificates, take long on purpose, or give another answer each time.
var withheld = []string{
	"genPrivateKey", "derivePassword", "buildCustomCert", "genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey",
	"genSignedCert", "genSignedCertWithKey", "encryptAES", "decryptAES", "bcrypt", "htpasswd", "randInt", "shuffle", "ago",
}

// A meter watches one execution of a template.
type meter struct {
	deadline time.Time
	steps    int
}

func (m *meter) tick() (string, error) {
	m.steps++
	if m.steps > maxSteps {
		return "", stop("it takes more than %d steps", maxSteps)
	}
	if time.Now().After(m.deadline) {
		return "", stop("it takes longer than %s", maxTime)
	}
	return "", nil
}

// functions are sprig's and those of text/template that make new values, each
// behind the meter.
func (m *meter) functions() template.FuncMap {
	functions := sprig.HermeticTxtFuncMap()
	for _, name := range withheld {
		delete(functions, name)
	}
	functions["print"], functions["printf"], functions["println"] = fmt.Sprint, fmt.Sprintf, fmt.Sprintln
	functions["html"], functions["js"], functions["urlquery"] = template.HTMLEscaper, template.JSEscaper, template.URLQueryEscaper
	for name, f := range functions {
		functions[name] = m.watch(name, reflect.ValueOf(f))
	}
	functions[clock] = m.tick
	return functions
}

// watch returns f with checks before and after each call. The result has the
// type of f, so that templates see no difference; a refusal leaves by panic,
// which text/template turns into the error of the call.
func (m *meter) watch(name string, f reflect.Value) any {
	return reflect.MakeFunc(f.Type(), func(args []reflect.Value) []reflect.Value {
		if _, err := m.tick(); err != nil {
			panic(err)
		}
		if err := admit(name, args); err != nil {
			panic(err)
		}
		call := f.Call
		if f.Type().IsVariadic() {
			call = f.CallSlice
		}
		results := call(args)
		for _, r := range results {
			if size(r, maxValue, 0) > maxValue {
				panic(stop("the function %q makes a value of more than %d bytes", name, maxValue))
			}
		}
		return results
	}).Interface()
}

// multiplies lists the functions whose result grows with a number they take.
var multiplies = map[string]bool{
	"repeat": true, "indent": true, "nindent": true, "until": true, "untilStep": true, "seq": true, "wrap": true, "wrapWith": true,
	"substr": true, "abbrev": true, "abbrevboth": true, "trunc": true, "chunk": true, "mustChunk": true, "splitn": true, "round": true,
}

// widths finds the numbers and the asterisks in the verbs of a format.
var widths = regexp.MustCompile(`%[^a-zA-Z%]*`)

// An extent is what is worth knowing about the arguments of a function.
type extent struct {
	total           int     // bytes and elements
	longest, second int     // lengths of the two longest texts
	elements        int     // of lists
	number          float64 // the greatest, without its sign
}

func (e *extent) add(v reflect.Value, depth int) {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch {
	case !v.IsValid():
	case v.Kind() == reflect.String && v.Len() > e.longest:
		e.longest, e.second = v.Len(), e.longest
	case v.Kind() == reflect.String:
		e.second = max(e.second, v.Len())
	case v.CanInt():
		e.number = max(e.number, math.Abs(float64(v.Int())))
	case v.CanUint():
		e.number = max(e.number, float64(v.Uint()))
	case v.CanFloat():
		e.number = max(e.number, math.Abs(v.Float()))
	case v.Kind() == reflect.Slice && depth < 2:
		e.elements += v.Len()
		for i := range min(v.Len(), maxValue) {
			e.add(v.Index(i), depth+1)
		}
	}
}

// admit refuses arguments that would make a function run away before its result
// can be looked at.
func admit(name string, args []reflect.Value) error {
	var e extent
	for _, arg := range args {
		e.total += size(arg, maxValue, 0)
		e.add(arg, 0)
	}
	switch {
	case e.total > 2*maxValue, e.longest*max(e.second, e.elements) > maxProduct:
		return stop("the function %q gets values that are too large", name)
	case multiplies[name] && (e.number > maxCount || e.number*float64(max(e.longest, 1)) > maxProduct):
		return stop("the function %q gets a number that is too large", name)
	case name == "printf" && len(args) > 0:
		return admitFormat(args[0].String())
	}
	return nil
}

// admitFormat bounds the widths and precisions in a format of printf.
func admitFormat(format string) error {
	sum := 0
	for _, verb := range widths.FindAllString(format, -1) {
		for number := range strings.FieldsFuncSeq(verb, func(r rune) bool { return (r < '0' || r > '9') && r != '*' }) {
			n, err := strconv.Atoi(number)
			if sum += n; err != nil || sum > maxCount {
				return stop("the widths in the format %q are too large, or not written out", verb)
			}
		}
	}
	return nil
}

// maxNesting bounds how deep a value may be: indented output grows with its square.
const maxNesting = 100

// size counts the bytes and elements of a value as if it were written out, up to
// a little more than limit. Values that contain themselves exceed any limit.
func size(v reflect.Value, limit, depth int) int {
	for v.IsValid() && (v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer) {
		v = v.Elem()
	}
	if !v.IsValid() {
		return 1
	}
	if depth > maxNesting {
		return limit + 1
	}
	n := 1
	switch v.Kind() {
	case reflect.String:
		n += v.Len()
	case reflect.Slice, reflect.Array:
		for i := 0; i < v.Len() && n <= limit; i++ {
			n += size(v.Index(i), limit-n, depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); n <= limit && it.Next(); {
			n += size(it.Key(), limit-n, depth+1)
			n += size(it.Value(), limit-n, depth+1)
		}
	case reflect.Struct:
		for i := 0; i < v.NumField() && n <= limit; i++ {
			n += size(v.Field(i), limit-n, depth+1)
		}
	}
	return n
}
