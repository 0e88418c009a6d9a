"""Which gaps of a scene are filled: settings that commands, flows and the library share."""

from pydantic import BaseModel, ConfigDict, Field


class FillOptions(BaseModel):
    """Which gaps are filled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    everywhere: bool = Field(False, description="also pixels that no day shows (sea, or outside the cut-out)")
    max_std: float | None = Field(
        None, description="standard deviation above which a pixel stays empty, in the data's unit"
    )
