package v1

import "github.com/weirhq/weir/api/internal/salvage"

// What stands in a status is read as far as it makes sense: a value that the schema admits and Go's types refuse must not
// stop the listing of all other objects.

// UnmarshalJSON reads the status. What cannot be read, such as a time, is passed over.
func (in *BucketStatus) UnmarshalJSON(data []byte) error {
	type plain BucketStatus
	return salvage.Decode(data, (*plain)(in))
}

// UnmarshalJSON reads the status. What cannot be read, such as a time, is passed over.
func (in *ExternalArtifactStatus) UnmarshalJSON(data []byte) error {
	type plain ExternalArtifactStatus
	return salvage.Decode(data, (*plain)(in))
}

// UnmarshalJSON reads the status. What cannot be read, such as a time, is passed over.
func (in *GitRepositoryStatus) UnmarshalJSON(data []byte) error {
	type plain GitRepositoryStatus
	return salvage.Decode(data, (*plain)(in))
}

// UnmarshalJSON reads the status. What cannot be read, such as a time, is passed over.
func (in *HelmChartStatus) UnmarshalJSON(data []byte) error {
	type plain HelmChartStatus
	return salvage.Decode(data, (*plain)(in))
}

// UnmarshalJSON reads the status. What cannot be read, such as a time, is passed over.
func (in *HelmRepositoryStatus) UnmarshalJSON(data []byte) error {
	type plain HelmRepositoryStatus
	return salvage.Decode(data, (*plain)(in))
}

// UnmarshalJSON reads the status. What cannot be read, such as a time, is passed over.
func (in *OCIRepositoryStatus) UnmarshalJSON(data []byte) error {
	type plain OCIRepositoryStatus
	return salvage.Decode(data, (*plain)(in))
}
