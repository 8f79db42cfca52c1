FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN groupadd --gid 10001 mldeploy \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin mldeploy \
 && mkdir /models && chown mldeploy:mldeploy /models

WORKDIR /opt/mldeploy
COPY requirements.lock ./
RUN python -m pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE compare_and_set.py logs.py settings.py parent_death.py struct_types.py ./
COPY auth auth
COPY api api
COPY jobs jobs
COPY mldeploy mldeploy
COPY modeler modeler
COPY models models
COPY webhooks webhooks
COPY worker worker
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation .

USER mldeploy
WORKDIR /tmp
VOLUME /models
EXPOSE 5000
CMD ["python", "-m", "api"]
