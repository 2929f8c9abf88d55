package v1

import "github.com/weirhq/weir/api/internal/salvage"

// What stands in a status is read as far as it makes sense: a value that the schema admits and Go's types refuse must not
// stop the listing of all other objects.

// UnmarshalJSON reads the status. What cannot be read, such as a time, is passed over.
func (in *ReceiverStatus) UnmarshalJSON(data []byte) error {
	type plain ReceiverStatus
	return salvage.Decode(data, (*plain)(in))
}
