"""The Applications service."""

# ruff: noqa: N802 (the API names the methods)

from __future__ import annotations

from typing import Any

from armonik.protogen.client.applications_service_pb2_grpc import ApplicationsServicer
from armonik.protogen.common import applications_common_pb2 as messages

from armoflow.engine.services.common import Service
from armoflow.engine.services.filter_messages import (
    APPLICATIONS,
    check_page,
    parse_filters,
    parse_sort,
)


class ApplicationsService(Service, ApplicationsServicer):  # type: ignore[misc]
    """Shows the applications that tasks name in their options."""

    async def ListApplications(self, request: Any, context: Any) -> Any:
        """List the distinct applications of the tasks that match."""
        engine, strict = self._engine, self._engine.options.strict
        check_page(request, strict=strict)
        filters = parse_filters(request.filters, APPLICATIONS, strict=strict)
        sort, descending = parse_sort(
            request.sort, list(request.sort.fields), APPLICATIONS, strict=strict
        )
        page = await engine.queries.applications(
            filters,
            sort=sort,
            descending=descending,
            page=request.page,
            page_size=request.page_size,
        )
        return messages.ListApplicationsResponse(
            applications=[
                messages.ApplicationRaw(**application._asdict()) for application in page.items
            ],
            page=request.page,
            page_size=request.page_size,
            total=page.total,
        )
