# The image of compose.yaml: MIHA with the locked versions of all its dependencies.
FROM python:3.11-slim
WORKDIR /miha
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY miha miha
COPY tasks tasks
COPY flows flows
RUN pip install --no-cache-dir --constraint requirements.lock --editable '.[all]' asyncpg
COPY prefect.yaml params.yaml ./
