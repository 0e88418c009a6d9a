"""Runs that show as Running although their process is dead: nobody was left to say that it crashed."""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed


def crash_ghosts(tag: str, alive: UUID | str | None) -> int:
    """Mark the Running flow runs with ``tag`` as Crashed, but for the one that is ``alive``; returns how many.

    To be called by who holds what the tag stands for (the lock of a run directory): no other run can be alive then.
    """
    running = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[tag]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])),
    )
    with get_client(sync_client=True) as client:
        ghosts = [run.id for run in client.read_flow_runs(flow_run_filter=running) if str(run.id) != str(alive)]
        for ghost in ghosts:
            client.set_flow_run_state(ghost, Crashed(message="Its process died; another run continues it."), force=True)
    return len(ghosts)
