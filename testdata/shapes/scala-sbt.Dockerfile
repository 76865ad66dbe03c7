FROM sbtscala/scala-sbt:eclipse-temurin-21.0.6_7_1.10.11_3.6.4 AS build
WORKDIR /app
COPY build.sbt ./
COPY project/build.properties project/*.sbt project/
RUN --mount=type=cache,target=/root/.cache/coursier --mount=type=cache,target=/root/.sbt sbt update
COPY . .
RUN sbt assembly
FROM eclipse-temurin:21-jre
COPY --from=build /app/target/scala-3*/*.jar /app.jar
ENTRYPOINT ["java", "-jar", "/app.jar"]
